"""The notify worker: sends chosen events to webhooks, each at least once.

main: the worker: moves events from the broker into the store, one thread for each receiver.
receiver: the thread that sends what is due to one webhook.
notifications: the notifications in the store.
webhook_request: which events a webhook gets, as which request, signed how. Pure.
http: sends one request.
verdict: what a response means, and when to retry. Pure.
dead_letters: dead-letters notifications that were not delivered.
"""
