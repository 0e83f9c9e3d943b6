"""Networks and containers: torch only."""
