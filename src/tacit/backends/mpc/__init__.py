"""Multi-party computation: values as shares of which no party has enough to know them."""
