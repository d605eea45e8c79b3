"""The methods: what each one optimises, with which options, and how."""
