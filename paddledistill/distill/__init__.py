"""What a student learns from a teacher: losses, layer maps, objectives, and the teacher's logits."""
