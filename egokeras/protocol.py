"""What training and device agree on: the times of anticipation, and the class of time without any action.

The times at which there is an observation before an action, and a prediction, are RU-LSTM's protocol, https://arxiv.org/abs/1905.09035,
section 3, which all results on EPIC-KITCHENS and EGTEA follow.
"""

STEP = 0.25  # seconds
OBSERVATIONS = 14
ANTICIPATION = (2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25)  # seconds before the action, in the order of the predictions
BACKGROUND = "background"  # nothing that is labelled happens
