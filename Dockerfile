# Lamplighter's workers, hooks and commands. The target `demo` holds the simulated cloud instead, the
# target `slurm` a Slurm beside them. Each package of Python is pinned by hash, also what builds ours.
#
# If your packages come through a proxy, pass pip's configuration and your certificates as build
# secrets, which do not become part of the image:
#   docker build --secret id=pip.conf,src=pip.conf --secret id=ca.crt,src=ca.crt .
# with `cert = /run/secrets/ca.crt` in that pip.conf.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS python
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3 ca-certificates >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home lamplighter \
    && install -d -o lamplighter -g lamplighter -m 0700 \
        /var/lib/lamplighter /var/spool/lamplighter
ENV PATH=/opt/lamplighter/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1
USER lamplighter

FROM python AS libraries
USER root
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3-pip >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /opt/lamplighter
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PYTHON=/opt/lamplighter
WORKDIR /src
COPY requirements.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --require-hashes -r requirements.lock

FROM libraries AS demo-libraries
COPY requirements-demo.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --require-hashes -r requirements-demo.lock

# What builds the package is pinned like what the package needs, and is not in the image.
FROM libraries AS build
COPY requirements-build.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --without-pip /opt/build \
    && pip --python /opt/build install --quiet --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY producers producers
COPY workers workers
COPY ops ops
COPY deploy/share deploy/share
RUN pip --python /opt/build wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /opt/wheel . \
    && pip install --quiet --no-index --no-deps /opt/wheel/*.whl

FROM python AS demo
COPY --from=demo-libraries /opt/lamplighter /opt/lamplighter
COPY tests /srv/tests
WORKDIR /srv
ENTRYPOINT ["python", "-m", "tests.testbed.simcloud"]

FROM python AS slurm
USER root
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && echo CgroupPlugin=disabled >/etc/slurm/cgroup.conf \
    && install -d -o lamplighter -g lamplighter -m 0700 /var/lib/slurm /home/lamplighter
COPY --from=build /opt/lamplighter /opt/lamplighter
COPY deploy/compose/slurm/start-munged deploy/compose/slurm/slurm-controller deploy/compose/slurm/slurm_node.py \
    /usr/local/bin/
USER lamplighter
WORKDIR /home/lamplighter
CMD ["slurm-controller"]

FROM python
COPY --from=build /opt/lamplighter /opt/lamplighter
WORKDIR /var/lib/lamplighter
CMD ["lamplighter", "--help"]
