"""The actions of operators on one partner."""
