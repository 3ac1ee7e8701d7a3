"""Use data that you may never see."""
