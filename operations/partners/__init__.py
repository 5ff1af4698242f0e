"""What an operator does about one partner."""
