// Package pages lists what may be too much for one answer.
package pages

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Size is how many objects are asked for at once.
const Size = 500

// Each calls list for every page, with the options that ask for it, until there are no more or one fails. Of client-go's
// pager it is the loop alone: that one reads pages ahead, and returns objects without their type.
func Each(list func(metav1.ListOptions) (metav1.ListInterface, error)) error {
	options := metav1.ListOptions{Limit: Size}
	for {
		page, err := list(options)
		if err != nil {
			return err
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}
