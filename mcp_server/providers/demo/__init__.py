"""The provider ``demo``: no model, and everything that can be tried without one."""
