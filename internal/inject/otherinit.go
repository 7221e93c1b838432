package inject

import (
	"path"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	programs "github.com/podinit/podinit/internal/program"
)

// leaveProgramAlone says why a program that is started with these words is not wrapped, or "". An init that a script starts
// works behind ours as well, and the script's own traps and children gain by it; an init system works only as PID 1.
func leaveProgramAlone(words []string) v1alpha1.Reason {
	if programs.KindOf(programs.Behind(words)) == programs.Init {
		return v1alpha1.ReasonAlreadyInit
	}
	becomes, sure := programs.Becomes(words)
	if sure && programs.KindOf(becomes) == programs.System || programs.NamesSystem(becomes) {
		return v1alpha1.ReasonRequiresPID1
	}
	if len(words) > 0 && strings.HasPrefix(path.Clean(words[0]), MountPath+"/") {
		return v1alpha1.ReasonMountConflict // the init's mount would hide it
	}
	return ""
}
