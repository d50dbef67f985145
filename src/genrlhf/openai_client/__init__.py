"""One way to a server that speaks OpenAI's API, for judges, samplers and embeddings.

The official client builds and sends a request; what is ours is that an attempt ends in time and within a size, what a
failure means, and when another attempt is made. So there is one policy of retries: this one.
"""
