"""From a model to the roles: arguments checked, a plan made and tried, a provider that holds no secret key."""
