// SPDX-License-Identifier: Apache-2.0

package views

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSelectorText(t *testing.T) {
	for want, s := range map[string]metav1.LabelSelector{
		"every device of the namespace": {},
		"site=hall":                     {MatchLabels: map[string]string{"site": "hall"}},
		"!old":                          {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "old", Operator: metav1.LabelSelectorOpDoesNotExist}}},
	} {
		if got := selectorText(&s); got != want {
			t.Errorf("%q, wanted %q", got, want)
		}
	}
}
