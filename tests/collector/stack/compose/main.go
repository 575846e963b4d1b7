// Loads compose files as docker compose does (schema, variables, overlays, profiles) and prints what comes out as JSON.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	// Nothing of a machine's own environment or .env takes part: only what is given as NAME=value before the files.
	var variables, files []string
	for _, argument := range os.Args[1:] {
		if name := argument; len(files) == 0 && isVariable(name) {
			variables = append(variables, argument)
		} else {
			files = append(files, argument)
		}
	}
	options, err := cli.NewProjectOptions(files, cli.WithEnv(variables), cli.WithProfiles([]string{"*"}), cli.WithName("otel-ws"))
	if err == nil {
		project, failure := options.LoadProject(context.Background())
		if err = failure; err == nil {
			var text []byte
			if text, err = project.MarshalJSON(); err == nil {
				fmt.Println(string(text))
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func isVariable(argument string) bool {
	for _, letter := range argument {
		if letter == '=' {
			return true
		}
		if (letter < 'A' || letter > 'Z') && letter != '_' {
			return false
		}
	}
	return false
}
