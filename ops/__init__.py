"""What a person uses: the command line."""
