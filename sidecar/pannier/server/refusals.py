"""Refusals that only HTTP knows, beside those of `pannier.errors`. Pure."""

from __future__ import annotations

from pannier.errors import PannierError


class BadRequest(PannierError):
    """What came is not HTTP/1.1, or broke off; the connection is closed after the answer."""

    status = 400
    code = "bad-request"
    title = "Broken HTTP"


class InvalidRequest(PannierError):
    """Right JSON of the wrong shape, an unknown member, a bad parameter or a bad tag."""

    status = 400
    code = "invalid-request"
    title = "Invalid request"


class Unauthorized(PannierError):
    """The token is missing or wrong."""

    status = 401
    code = "unauthorized"
    title = "A token is needed"


class Forbidden(PannierError):
    """The request came from a web page, or was sent to a name that is not this sidecar's."""

    status = 403
    code = "forbidden"
    title = "Not from here"


class NotFound(PannierError):
    """No such path."""

    status = 404
    code = "not-found"
    title = "No such path"


class MethodNotAllowed(PannierError):
    """The path is known, and has other methods: those in the field `allow`."""

    status = 405
    code = "method-not-allowed"
    title = "Method not allowed"


class TargetTooLong(PannierError):
    """The request's target is over 8 KiB."""

    status = 414
    code = "target-too-long"
    title = "The target is too long"


class HeadTooLarge(PannierError):
    """The request's head is over 32 KiB."""

    status = 431
    code = "head-too-large"
    title = "The head is too large"


class UnsupportedMediaType(PannierError):
    """The body has a `Content-Encoding`."""

    status = 415
    code = "unsupported-media-type"
    title = "Encoded bodies are not taken"


class BatchRejected(PannierError):
    """An atomic batch of which some operation was refused: nothing was changed."""

    status = 409
    code = "batch-rejected"
    title = "The batch was rejected"


class Draining(PannierError):
    """The sidecar is being stopped and takes no new request; nothing was done."""

    status = 503
    code = "draining"
    title = "The sidecar is stopping"


class NotReady(PannierError):
    """The sidecar has no configuration yet, or a store of it cannot serve; nothing was done."""

    status = 503
    code = "not-ready"
    title = "Not ready"


class Overloaded(PannierError):
    """The sidecar's own memory or connections are used up; nothing was done."""

    status = 503
    code = "overloaded"
    title = "The sidecar is overloaded"


class Internal(PannierError):
    """A bug of ours; the log has it."""

    status = 500
    code = "internal"
    title = "Internal error"
