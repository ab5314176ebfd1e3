"""One JVM of a real HDFS: started, killed, paused, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from tests.real.processes import die_with_parent

JVM_FLAGS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # Without it WebHDFS answers with an empty error.
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)

LOG4J = """\
log4j.rootLogger=WARN,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n
"""


class Node:
    """One Hadoop daemon with a configuration folder of its own."""

    def __init__(
        self,
        name: str,
        main_class: str,
        home: Path,
        classpath: str,
        settings: dict[str, str],
        *arguments: str,
        jvm_flags: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.home = home
        self.settings = settings
        self._main_class = main_class
        self._arguments = arguments
        self._jvm_flags = jvm_flags
        self._process: subprocess.Popen[bytes] | None = None
        conf = home / "conf"
        conf.mkdir(parents=True)
        # The jars bring no web applications; the daemons only want their folders to exist.
        for folder in ("hdfs", "datanode", "journal", "secondary", "static"):
            (conf / "webapps" / folder).mkdir(parents=True)
        (conf / "log4j.properties").write_text(LOG4J)
        write_settings(conf, settings)
        self._classpath = f"{conf}:{classpath}"

    @property
    def log(self) -> Path:
        return self.home / "log.txt"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, main_class: str, *arguments: str, seconds: float = 60) -> str:
        """Run another main class with this node's configuration to its end; what it printed."""
        done = subprocess.run(
            [*self._command(main_class), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=seconds, check=False, cwd=self.home, env=self._environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{main_class} {arguments} failed: {done.stdout[-3000:]}")
        return done.stdout

    def start(self) -> None:
        """Start the daemon; it is not ready yet when this returns."""
        assert not self.alive, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command(self._main_class), *self._arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                env=self._environment(), preexec_fn=die_with_parent,
                process_group=0,  # Ctrl-C is for the tests alone
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL; the daemon is gone when this returns. A dead one may be killed again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self.alive
        os.kill(self._process.pid, number)

    def _command(self, main_class: str) -> list[str]:
        return ["java", *JVM_FLAGS, *self._jvm_flags, "-cp", self._classpath, main_class]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HADOOP_HOME": str(self.home), "HADOOP_CONF_DIR": ""}


def write_settings(conf: Path, settings: dict[str, str]) -> None:
    """Write Hadoop's configuration files; one folder serves every daemon."""
    properties = "\n".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in settings.items()
    )
    text = f"<?xml version='1.0'?>\n<configuration>\n{properties}\n</configuration>\n"
    (conf / "core-site.xml").write_text(text)
    (conf / "hdfs-site.xml").write_text(text)
