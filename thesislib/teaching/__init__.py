"""Small models and data sets for the background chapters, thin over torch and scikit-learn."""
