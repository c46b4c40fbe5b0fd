"""From noise to latents: schedules, guidance, the joint sampler."""
