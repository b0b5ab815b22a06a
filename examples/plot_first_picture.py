"""
One photo, one network
======================

Where did a small pretrained network look when it said "tiger cat"?
"""

# %%
# A picture is a path, a PIL picture or an array. Everything has a default: the network is
# EfficientNet-Lite0, the method Grad-CAM, the class the one that scores highest.

from skimage import data

import camlucida as cl

explanation = cl.explain(data.chelsea())
explanation

# %%
# The result knows what it shows and how it was made.

print(explanation.caption)
print(explanation.method, explanation.model, explanation.layer, explanation.provenance.layout)
print(explanation.heatmap.round(decimals=1))

# %%
# Another class, by a name of it, and evidence against it as well as for it: a diverging colormap has its
# middle at zero.

tabby = cl.explain(data.chelsea(), target="tabby", method="hirescam")
tabby.overlay(colormap="RdBu_r")
