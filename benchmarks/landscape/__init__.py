"""How flat the loss is around a trained network: curvature where it stands, and what it is along random directions."""
