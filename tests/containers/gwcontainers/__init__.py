"""The stack of compose/docker-compose.yml on an engine of its own.

The engine, its containers and the checks live in new PID, mount and network namespaces (unshare(1)), so that an engine
or a firewall of the machine is neither used nor touched, and all of it ends with the namespaces, whatever happens. That
takes two stages, because the network namespace has no way out:

1. build: on the machine's network, with no bridge and no firewall rules. The base image is made with debootstrap from
   the mirror that apt uses, the gateway's images from compose/Dockerfile, the stand-ins from standins/Dockerfile.
2. check: in a network namespace, where the engine makes its bridges and its rules as on any host.
"""
