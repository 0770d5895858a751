"""Certified images: to seal what leaves a cloud, and to verify what enters one.

Pure: bytes, keys, time and what was seen before come in as parameters; what was found goes out. The numbered
steps of the verification are those of docs/certified-image.md.
"""
