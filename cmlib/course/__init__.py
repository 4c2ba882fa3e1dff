"""What a lesson's first cell needs: where it runs, and how its figures look."""
