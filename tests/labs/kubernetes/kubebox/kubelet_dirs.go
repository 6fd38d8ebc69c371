package kubelet

import "os"

// ContainerLogsDir is the location of container logs.
var ContainerLogsDir = func() string {
	if d := os.Getenv("KUBEBOX_LOG_DIR"); d != "" {
		return d + "/containers"
	}
	return "/var/log/containers"
}()
