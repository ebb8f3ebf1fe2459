"""The lab on docker-compose, with Shopify's Toxiproxy in front of every dependency."""
