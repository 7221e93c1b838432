package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// usageTemplate is cobra's own (its defaultUsageTemplate), without the flags that every command takes: as with kubectl,
// "podinit options" lists those.
const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Available Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .LocalNonPersistentFlags.HasAvailableFlags}}

Flags:
{{.LocalNonPersistentFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

Use "{{.CommandPath}} [command] --help" for more information about a command.{{end}}

Use "{{.Root.DisplayName}} options" for a list of global command-line options (applies to all commands).
`

// newOptions is "podinit options".
func newOptions() *cobra.Command {
	command := &cobra.Command{
		Use:               "options",
		Short:             "The flags that every command takes",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	command.RunE = func(command *cobra.Command, _ []string) error {
		_, err := fmt.Fprintf(command.OutOrStdout(),
			"The following options can be passed to any command:\n\n%s", command.InheritedFlags().FlagUsages())
		return err
	}
	return command
}
