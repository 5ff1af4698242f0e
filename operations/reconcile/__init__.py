"""The provider's present objects compared with our rows, and the repair of differences."""
