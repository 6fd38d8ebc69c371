package kuberuntime

import "os"

func kubeboxDir(name, dflt string) string {
	if d := os.Getenv("KUBEBOX_LOG_DIR"); d != "" {
		return d + "/" + name
	}
	return dflt
}

var podLogsRootDirectory = kubeboxDir("pods", "/var/log/pods")
var legacyContainerLogsDir = kubeboxDir("containers", "/var/log/containers")
