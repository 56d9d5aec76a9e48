"""Rules invented from general principles, each drawn with its parameters: scenes of objects, patterns, movement."""
