"""
Networks and methods side by side
=================================

A contact sheet is the quickest way to see where networks agree.
"""

# %%
# Three networks and two methods on one photo. The random method is a floor: a map that cannot know anything.

from skimage import data

import camlucida as cl

networks = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
cl.compare(data.coffee(), models=networks, methods=["gradcam", "layercam", "random"])

# %%
# With one network, methods become the columns, and classes the rows.

cl.compare(
    data.chelsea(),
    methods=["gradcam", "gradcam++", "layercam", "eigencam"],
    targets=[None, "tabby", "Egyptian cat"],
)
