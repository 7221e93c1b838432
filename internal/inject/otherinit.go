package inject

import (
	"path"
	"slices"
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

// hides says whether the init's mount would hide the directory that a program starts in, or the program that is found from
// there. No node knows that directory, so it decides nothing in a Pod that is left to the nodes.
func (s *subject) hides(pr program) bool {
	if s.setting.Profile.ByNode() {
		return false
	}
	directories := []string{s.WorkingDir}
	if s.WorkingDir == "" {
		directories = nil
		for _, config := range s.image.configs {
			directories = append(directories, config.WorkingDir)
		}
	}
	starts := [][]string{pr.command}
	for _, p := range pr.platforms {
		starts = append(starts, p.words)
	}
	return slices.ContainsFunc(directories, func(directory string) bool {
		return hidden(directory) || slices.ContainsFunc(starts, func(words []string) bool {
			return len(words) > 0 && strings.Contains(words[0], "/") && !path.IsAbs(words[0]) && hidden(path.Join(directory, words[0]))
		})
	})
}
