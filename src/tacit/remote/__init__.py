"""The owner's side of a prediction over a network: keys in files, checked plans, safe retries, one call to
predict."""
