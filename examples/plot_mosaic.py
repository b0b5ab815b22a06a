"""
Which method sees the class?
============================

Four photos on one: whatever the class, it is known which quarter shows it. A method that looks at the class
lights that quarter up; others light the same ones up for every class.
"""

# %%
# One row for each class, one column for each method. Class 657 is the missile: the rocket.

from PIL import Image
from skimage import data

import camlucida as cl

photos = {"tiger cat": data.chelsea, "espresso": data.coffee, "tripod": data.camera, 657: data.rocket}
mosaic = Image.new("RGB", (512, 512))
for place, photo in enumerate(photos.values()):
    quarter = Image.fromarray(photo()).convert("RGB").resize((256, 256))
    mosaic.paste(quarter, (place % 2 * 256, place // 2 * 256))

methods = ["gradcam", "gradcam++", "layercam", "eigencam"]
sheet = cl.compare(mosaic, methods=methods, targets=list(photos))
sheet

# %%
# ``camlucida evaluate photos/ --grid 2`` does this with photos of your own and gives numbers: how much of
# each map lies on the quarter of its class. By chance it is a quarter.
