"""The commands of `./dev`: the local stack with our processes on it, and the tools of the checkout."""
