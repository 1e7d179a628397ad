"""The notify worker: sends chosen events to webhooks, each at least once.

main: the worker: moves events from the broker into the store, one thread for each receiver.
receiver: the thread that sends what is due to one webhook.
notifications: the notifications in the store.
webhook_request: the request that delivers an event, and its signature. Pure.
opus: the message to OPUS about a job, in its own format. Pure.
http: sends one request.
verdict: what a response means, and when to retry. Pure.
dead_letters: dead-letters notifications that were not delivered.
"""
