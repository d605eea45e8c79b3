"""What people look at: contact sheets and the gallery."""
