"""What happens without a person waiting: the relay carries events out of the outbox, actors act on them, the scheduler keeps the calendar."""
