"""Text: caption templates, pools of spurious templates and their files, the sampler of captions, a little English."""
