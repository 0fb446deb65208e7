"""What training and sampling would cost, from a model's shape and a device's data sheet; nothing is run.

shapes: models. devices: hardware and assumptions. roofline: seconds. memory: bytes on a GPU. published: what others
measured, to check all of it against. picture: the bars.
"""
