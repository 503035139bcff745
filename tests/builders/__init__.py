"""What tests are made of: cards, photos, runs, tables, calibrations and tiny checkpoints; one builder for each kind."""
