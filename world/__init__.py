"""The captioned world that the bundled weights know: animated stickers. Unlimited training video with exact labels."""
