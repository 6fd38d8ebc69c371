# Sourced by `up`: the keys and the configuration files of the cluster, in its own folder.

if [[ ! -e $run/pki/done ]]; then
  (
    cd "$run/pki"
    umask 077
    key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
    cert() { # NAME SUBJECT ALTERNATIVE-NAMES
      key "$1"
      openssl req -new -key "$1.key" -subj "$2" -out "$1.csr" 2>/dev/null
      openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
        -extfile <(printf '%s\n' "subjectAltName=$3" "extendedKeyUsage=serverAuth,clientAuth") 2>/dev/null
      rm "$1.csr"
    }
    key ca
    openssl req -x509 -new -key ca.key -subj /CN=daas-lab-ca -days 3650 -out ca.crt 2>/dev/null
    cert apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$gateway,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    cert kubelet /O=system:nodes/CN=system:node:node1 "IP:$gateway,DNS:node1"
    cert kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client DNS:apiserver
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    token() { head -c16 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
    # The kubelet is an administrator: the rule that nodes see only what is theirs delays pods on fresh claims.
    printf '%s\n' "$(token),admin,admin,system:masters" "$(token),system:node:node1,node1,system:masters" \
      "$(token),system:kube-scheduler,scheduler" >tokens.csv
    touch done
  )
fi

kubeconfig() { # FILE USER
  local token
  token=$(awk -F, -v u="$2" '$2==u {print $1}' "$run/pki/tokens.csv")
  (umask 077 && cat >"$run/$1" <<YAML)
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "$api", certificate-authority: $run/pki/ca.crt}}]
users: [{name: user, user: {token: "$token"}}]
contexts: [{name: lab, context: {cluster: lab, user: user}}]
current-context: lab
YAML
}
kubeconfig admin.kubeconfig admin
kubeconfig kubelet.kubeconfig system:node:node1
kubeconfig scheduler.kubeconfig system:kube-scheduler

cat >"$run/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "$bridge", "plugins": [{"type": "bridge", "bridge": "$bridge", "isGateway": true,
 "ipMasq": false, "hairpinMode": true, "ipam": {"type": "host-local", "dataDir": "$run/state/ipam",
 "ranges": [[{"subnet": "$net.0/24", "gateway": "$gateway"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON

cat >"$run/containerd.toml" <<TOML
version = 2
root = "$run/containerd/data"
state = "$run/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "$run/containerd.sock"
[ttrpc]
  address = "$run/containerd.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "$run/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:3"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "$run/state/base-spec.json"
TOML

# No firewall rule, no name service; an end of the kubelet's own cgroups, which the machine may not let it make.
cat >"$run/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
address: $gateway
port: ${ports[6]}
healthzBindAddress: 127.0.0.1
healthzPort: ${ports[5]}
readOnlyPort: 0
clusterDNS: [$gateway]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
resolvConf: $run/state/resolv.conf
failSwapOn: false
oomScoreAdj: 0
maxPods: 200
featureGates: {DevicePlugins: false}
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: "100Mi"}
syncFrequency: 10s
nodeStatusUpdateFrequency: 2s
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 50
kubeAPIBurst: 100
YAML
echo "nameserver 127.0.0.53" >"$run/state/resolv.conf"
# Where a machine lacks CAP_SYS_RESOURCE no process may be given more open files than the machine's hard limit.
[[ -s $run/state/base-spec.json ]] || ctr oci spec 2>/dev/null | python3 -c '
import json, sys
spec = json.load(sys.stdin)
spec["process"].pop("rlimits", None)
json.dump(spec, sys.stdout)' >"$run/state/base-spec.json"
