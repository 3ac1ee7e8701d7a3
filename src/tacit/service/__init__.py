"""The provider's endpoint: models, keys and predictions over HTTPS."""
