"""The graph nodes: schema and a few lines of glue each, no mathematics."""
