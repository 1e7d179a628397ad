"""RabbitMQ. In the workers, only this package imports pika; its errors become workers.errors.

link: a connection that reconnects, for consuming and publishing.
session: one such connection from its start to its end.
publishing: the channel of a session that publishes; a spoiled one is replaced.
consumers: the consumers of a session; a cancelled one is renewed.
odd_headers: reads headers that pika cannot.
subscription: one consumer as a state machine.
backoff: waits between attempts.
delivery: a message received; what its headers say of earlier attempts.
batches: collects deliveries into batches.
silence: leaves a broker that hangs.
blocking: a short connection, and the mapping of pika's errors to ours.
roles: what each role may say, read and configure; the permissions that follow.
authority: whether a delivery's sender may say what it says.
sender_check: checks each delivery for a worker, and quarantines what is refused.
definitions: users, permissions and topology as RabbitMQ loads them.
topology: exchanges, queues and bindings.
declare: declares the topology.
depths: messages and consumers of each queue.
health: quorum, alarms, missing consumers: what the counts alone do not show.
outgoing: events and commands as messages; publishing with confirms, also on behalf of deliveries.
failure_headers: the headers for failed attempts and dead letters.
"""
