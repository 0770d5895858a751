"""Disk images and packages, in and out: what they are, whether they are safe, and the same disk in another
form.

`inspect` reads an image's structure without any outside tool and says what stands against it; `formats`
converts after that; `ovf` and `ova` read and write descriptions and packages; `package` is what the
commands ``crossport image inspect|convert|import|export`` call.
"""
