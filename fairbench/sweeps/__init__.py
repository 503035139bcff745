"""`fairbench sweep`: trainings of several kinds and strengths under one budget, what each bought, and at what price."""
