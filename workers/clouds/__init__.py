"""OpenStack: the only room that imports openstack and uses Nova's vocabulary.

actions: Nova's actions, and which one leads from a server's status to the wanted state.
answers: messages, times and ids from the cloud's answers.
client: calls one project's API.
decide: the decision table: what to do about one node, given what was listed.
driver: one cloud at work: threads, server view, call queue, listing schedule.
errors: what an error of a cloud means for the request.
health: whether a cloud answers and acts, how fast it may be called, and when it is listed.
images: the images that requests have made, as Glance lists them.
listing: reads servers from the cloud's answers.
missing: servers that a listing says nothing of, though they are there.
names: resolves a template's names to ids.
nova_requests: the HTTP request behind each action.
quota: what a project may still make.
servers: a cloud's servers, folded from listings; a node's server and address.
session: sends requests to the cloud; every error becomes ours.
snapshot_listings: lists each cloud for each snapshot; deletes stray servers.
strays: servers with our tags that belong to no node.
template_check: whether a cloud has what a template names and Nova alone looks up.
"""
