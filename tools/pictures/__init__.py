"""The pictures of the documents; `tools/draw_pictures.py` draws them."""
